//! The command line from outside: the real program against a service that answers as told.

mod checks;
mod direct;
mod drill;
mod exits;
mod fake;
mod probe;
mod readiness;
mod run;
mod serve;
mod settings;
