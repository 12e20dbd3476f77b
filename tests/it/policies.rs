//! The IAM policies in the repository are the ones that the code writes.

use std::{fs, path::Path};

use cutover::cloud::aws::Policy;

#[test]
fn the_committed_policies_are_what_the_code_asks_for() {
    for policy in Policy::ALL {
        let path = format!("deploy/iam/{}.json", policy.name());
        let committed = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).unwrap_or_default();
        assert!(committed == policy.text(), "{path} is stale: write it anew with `cutover policy {} > {path}`", policy.name());
    }
}
