//! AWS's two wildcards: `*` for any run of characters, `?` for exactly one.

/// Whether upper and lower case are told apart: in paths they are, in hosts, headers and queries they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Sensitive,
    Insensitive,
}

/// Whether the whole of `text` matches `pattern`. Linear in practice: after a mismatch only the last star is tried again,
/// which is enough, because an earlier one could only take what the last one can take as well.
#[must_use]
pub fn matches(pattern: &str, text: &str, case: Case) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let same = |a: u8, b: u8| match case {
        Case::Sensitive => a == b,
        Case::Insensitive => a.eq_ignore_ascii_case(&b),
    };
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&wanted) if wanted == b'?' || same(wanted, text[seen]) => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    at = after + 1;
                    seen = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&rest| rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::{Case::*, *};

    #[test]
    fn stars_take_any_run_and_question_marks_one_character() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "a", false),
            ("/img/*", "/img/", true),
            ("/img/*", "/img/a/b.png", true),
            ("/img/*", "/img", false),
            ("/img/*/pics", "/img/a/b/pics", true),
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "example.com", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b", "xaxbxb", true),
            ("*a*b", "xaxbxc", false),
        ] {
            assert_eq!(matches(pattern, text, Sensitive), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn case_counts_only_where_it_does_on_aws() {
        assert!(matches("*.Example.com", "WWW.example.COM", Insensitive));
        assert!(!matches("/API/*", "/api/x", Sensitive));
    }
}
