//! The region as AWS's own SDK sees it: what it accepts, what it refuses, and with which codes.

mod api {
    pub mod region;

    mod accounts;
    mod calls;
    mod faults;
    mod groups;
    mod looks;
    mod roles;
    mod rules;
    mod scaling;
    mod traffic;
}
