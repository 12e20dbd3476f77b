//! The API document in the repository is the one that the code describes.

use std::{collections::HashSet, fs, path::Path};

#[test]
fn the_committed_document_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/v1.json");
    let mut written = serde_json::to_string_pretty(&cutover::http::openapi()).unwrap();
    written.push('\n');
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == written, "openapi/v1.json is stale: write it anew with `cutover openapi > openapi/v1.json`");
}

#[test]
fn whatever_a_rollback_of_a_service_is_answered_with_may_be_a_redeploy_with_its_place() {
    let document = serde_json::to_value(cutover::http::openapi()).unwrap();
    let answers = &document["paths"]["/v1/services/{service}/environments/{environment}/rollback"]["post"]["responses"];
    for status in ["200", "202"] {
        assert!(answers[status]["headers"]["location"].is_object(), "{status}");
    }
}

#[test]
fn every_call_is_described_for_people() {
    let document = serde_json::to_value(cutover::http::openapi()).unwrap();
    let mut ids = HashSet::new();
    for (path, calls) in document["paths"].as_object().unwrap() {
        for (method, call) in calls.as_object().unwrap() {
            let summary = call["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{method} {path} has no summary");
            let id = call["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{method} {path}: {id} names another call too");
            assert!(!call["tags"].as_array().unwrap().is_empty(), "{method} {path} has no tag");
        }
    }
}
