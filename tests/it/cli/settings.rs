//! `cutover config`: the configuration as an operator meets it.

use super::run::{end, program};

#[tokio::test]
async fn config_check_names_every_fault_and_exits_with_2() {
    let mut command = program(&["config", "check", "--listen", "nowhere"]);
    let ran =
        end(command.env("CUTOVER__ENGINE__LEES", "10s").env("CUTOVER__DATABASE__URL", "mysql://x").spawn().unwrap()).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for said in ["engine.lees (CUTOVER__ENGINE__LEES)", "listen (--listen)", "database.url (CUTOVER__DATABASE__URL)"] {
        assert!(ran.err.contains(said), "{said}: {ran:?}");
    }
}

#[tokio::test]
async fn the_printed_defaults_are_a_valid_configuration() {
    let defaults = end(program(&["config", "defaults"]).spawn().unwrap()).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &defaults.out).unwrap();
    let ran = end(program(&["config", "check", "--config", file.path().to_str().unwrap()]).spawn().unwrap()).await;
    assert_eq!(ran.code, Some(0), "{ran:?}");
}
