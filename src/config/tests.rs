//! That the reference is complete and true, that layers go over each other, and that every fault is named.

use std::io::Write;

use secrecy::ExposeSecret;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { environment, ..Sources::default() }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_reference_is_valid_and_says_what_the_domain_says() {
    let config = Config::load(Sources::default()).unwrap();
    assert_eq!(config.engine, EngineSettings::default());
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert!(config.database.url.is_none() && config.state_dir.is_none());

    let store = config.database.store(SecretString::from("postgres://db"));
    assert_eq!(format!("{store:?}"), format!("{:?}", StoreSettings::new(SecretString::from("postgres://db"))));
    assert_eq!(format!("{:?}", config.aws), format!("{:?}", AwsSettings::default()));
}

#[test]
fn every_key_of_the_reference_is_read_and_has_a_comment() {
    let mut reader = Reader::new();
    Config::read(&mut reader);
    assert_eq!(reader.unread(), Vec::<&str>::new(), "in config/default.toml, but the program does nothing with it");

    let lines: Vec<_> = DEFAULTS.lines().collect();
    for (above, line) in lines.iter().zip(&lines[1..]) {
        if line.contains(" = ") && !line.starts_with('#') {
            assert!(above.starts_with('#'), "no comment above {line:?}");
        }
    }
}

#[test]
fn the_example_for_production_is_valid() {
    let sources = Sources {
        file: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/config/production.toml").into()),
        ..environment(&[("CUTOVER__DATABASE__URL", "postgres://cutover@db/cutover")])
    };
    let config = Config::load(sources).unwrap();
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn flags_go_over_the_environment_and_that_over_the_file() {
    let file = file("listen = \"127.0.0.1:1\"\n[engine]\nlease = \"11s\"\nquiet_period = \"11m\"\n");
    let sources = Sources {
        file: Some(file.path().to_owned()),
        flags: vec![("listen", "--listen", "127.0.0.1:3".to_owned())],
        ..environment(&[("CUTOVER__LISTEN", "127.0.0.1:2"), ("CUTOVER__ENGINE__LEASE", "12s")])
    };
    let config = Config::load(sources).unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.engine.lease, secs(12));
    assert_eq!(config.engine.timing.quiet_period, secs(660));
}

#[test]
fn every_fault_is_named_with_its_key_and_where_it_was_set() {
    let file = file("engine = 3\n[database]\nurll = \"x\"\n[htp]\n[engines]\nlease = \"5\"\n");
    let sources = Sources {
        file: Some(file.path().to_owned()),
        flags: vec![("listen", "--listen", "here".to_owned())],
        ..environment(&[
            ("CUTOVER__ENGINE__LEASE", "10"),
            ("CUTOVER__ENGINE__LEES", "10s"),
            ("CUTOVER__DATABASE__CONNECTIONS_MAX", "1"),
            ("CUTOVER__ENGINE__BUNDLES_MAX", "2k"),
            ("CUTOVER__DATABASE__URL", "mysql://user:hunter2@db"),
            ("CUTOVER_URL", "http://127.0.0.1:1"),
        ])
    };
    let faults = Config::load(sources).unwrap_err();
    let named: Vec<_> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
    let expected = [
        "database.urll",
        "engine",
        "engines.lease",
        "htp",
        "engine.lees",
        "listen",
        "engine.lease",
        "engine.bundles_max",
        "database.url",
        "database.connections_max",
    ];
    assert_eq!(named, expected, "{faults}");

    let said = faults.to_string();
    assert!(
        said.contains("engine.lees (CUTOVER__ENGINE__LEES): there is no such key; there are engine.absence_looks"),
        "{said}"
    );
    assert!(said.contains("listen (--listen): \"here\" is not an address and a port"), "{said}");
    assert!(
        said.contains("database.connections_max (CUTOVER__DATABASE__CONNECTIONS_MAX): must be a whole number from 2 to 200")
    );
    assert!(said.contains(&format!("database.urll ({})", file.path().display())));
    assert!(!said.contains("hunter2"), "a secret was printed");
}

#[test]
fn a_file_that_is_not_there_or_no_toml_is_a_fault() {
    for path in ["/no/such/file.toml", concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")] {
        let faults = Config::load(Sources { file: Some(path.into()), ..Sources::default() }).unwrap_err();
        assert!(faults.to_string().contains(path), "{faults}");
    }
}

#[test]
fn a_short_quiet_period_is_accepted_with_a_warning() {
    let config = Config::load(environment(&[("CUTOVER__ENGINE__QUIET_PERIOD", "20s")])).unwrap();
    assert_eq!(config.engine.timing.quiet_period, secs(20));
    assert!(config.warnings[0].contains("engine.quiet_period is 20s"), "{:?}", config.warnings);

    let shorter = Config::load(environment(&[("CUTOVER__ENGINE__QUIET_PERIOD", "2s")])).unwrap().engine;
    assert!(shorter.act_timeout < secs(1) && shorter.rollback_tries_for < secs(1), "a call may land after half a quiet period");
}

#[test]
fn settings_that_do_not_go_together_are_faults() {
    let variables = [
        (("CUTOVER__ENGINE__LEASE", "1s"), "engine.lease"),
        (("CUTOVER__ENGINE__LOOK_EVERY", "10s"), "engine.watch_every"),
        (("CUTOVER__SWEEPER__REMOVE_AFTER", "9m"), "sweeper.remove_after"),
    ];
    for (variable, key) in variables {
        let faults = Config::load(environment(&[variable])).unwrap_err();
        let named: Vec<_> = faults.0.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(named, [key], "{faults}");
    }
}

#[test]
fn the_sweeper_is_on_and_can_be_told_to_list_only() {
    assert!(Config::load(Sources::default()).unwrap().engine.sweeper.enabled);
    let told = environment(&[("CUTOVER__SWEEPER__REMOVE", "false")]);
    assert!(!Config::load(told).unwrap().engine.sweeper.terms.remove);
    let faults = Config::load(environment(&[("CUTOVER__SWEEPER__REMOVE", "never")])).unwrap_err();
    assert!(faults.to_string().contains("sweeper.remove (CUTOVER__SWEEPER__REMOVE): must be true or false"), "{faults}");
}

#[test]
fn a_secret_does_not_show_in_debug_output() {
    let config = Config::load(environment(&[("CUTOVER__DATABASE__URL", "postgres://user:hunter2@db/x")])).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.database.url.unwrap().expose_secret(), "postgres://user:hunter2@db/x");
}
