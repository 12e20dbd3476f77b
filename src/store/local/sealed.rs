//! Files of sealed lines: each is a JSON value behind its SHA-256. The first is a head, the last says how many lie between.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::hex;

/// Characters of the seal: a SHA-256 in hex and a blank.
const SEAL: usize = 65;

#[derive(Debug, Serialize, Deserialize)]
struct End {
    lines: usize,
}

/// One line with its end.
pub(super) fn seal(value: &impl Serialize) -> io::Result<String> {
    let json = serde_json::to_string(value)?;
    Ok(format!("{} {json}\n", hex(&Sha256::digest(&json))))
}

/// What a line holds; `None` when it is not as it was written.
pub(super) fn unseal<T: DeserializeOwned>(line: &str) -> Option<T> {
    let (seal, json) = line.strip_suffix('\n')?.split_at_checked(SEAL)?;
    (seal.trim_end() == hex(&Sha256::digest(json))).then(|| serde_json::from_str(json).ok())?
}

/// Puts a file in the place of another: written beside it, forced to the disk, and then moved.
pub(super) fn write<H: Serialize, L: Serialize>(path: &Path, head: &H, lines: &[L]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let mut out = BufWriter::new(file);
    out.write_all(seal(head)?.as_bytes())?;
    for line in lines {
        out.write_all(seal(line)?.as_bytes())?;
    }
    out.write_all(seal(&End { lines: lines.len() })?.as_bytes())?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().ok_or(io::ErrorKind::NotADirectory)?;
    File::open(folder)?.sync_all()
}

/// Head and lines of a whole file; `None` when there is none.
///
/// # Errors
/// When it cannot be read, is larger than `bytes_max`, or anything in it is not as it was written.
pub(super) fn read<H: DeserializeOwned, L: DeserializeOwned>(path: &Path, bytes_max: u64) -> io::Result<Option<(H, Vec<L>)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    if file.metadata()?.len() > bytes_max {
        return Err(damaged(format!("it is larger than {bytes_max} bytes")));
    }
    let mut text = BufReader::new(file);
    let mut line = String::new();
    let mut next = |line: &mut String| {
        line.clear();
        text.read_line(line)
    };
    next(&mut line)?;
    let head = unseal(&line).ok_or_else(|| damaged("its first line is damaged".to_owned()))?;
    let mut lines = Vec::new();
    loop {
        next(&mut line)?;
        if let Some(read) = unseal(&line) {
            lines.push(read);
        } else if unseal(&line).is_some_and(|end: End| end.lines == lines.len()) {
            return Ok(Some((head, lines)));
        } else {
            return Err(damaged(format!("its line {} is damaged or missing", lines.len() + 2)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read_all(path: &Path) -> io::Result<Option<(String, Vec<u32>)>> {
        read(path, 1000)
    }

    #[test]
    fn what_is_written_is_read_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        assert!(read_all(&path).unwrap().is_none(), "there is none yet");
        for lines in [vec![1, 2, 3], Vec::new()] {
            write(&path, &"head", &lines).unwrap();
            assert_eq!(read_all(&path).unwrap(), Some(("head".to_owned(), lines)));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_with_a_byte_or_a_line_missing_or_changed_is_refused_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        write(&path, &"head", &[10, 20]).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        for at in 0..whole.len() {
            fs::write(&path, &whole[..at]).unwrap();
            assert!(read_all(&path).is_err(), "cut off after {at} bytes");
            let mut bytes = whole.clone().into_bytes();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(read_all(&path).is_err(), "byte {at} flipped");
        }
        let without = |n: usize| -> String {
            whole.lines().enumerate().filter(|(i, _)| *i != n).map(|(_, l)| format!("{l}\n")).collect()
        };
        for n in 0..4 {
            fs::write(&path, without(n)).unwrap();
            assert!(read_all(&path).is_err(), "line {n} is missing");
        }
        fs::write(&path, "x".repeat(1001)).unwrap();
        assert!(read_all(&path).unwrap_err().to_string().contains("larger"));
    }
}
