//! The API as callers meet it: the real router and use cases, on a store and a cloud in memory.

mod answers;
mod checking;
mod commands;
mod declaring;
mod deploying;
mod door;
mod drift;
mod drills;
mod fuzzing;
mod limits;
mod offline;
mod orphans;
mod readiness;
mod records;
mod redeploying;
mod rolling_back;
mod serving;
mod tokens;
mod waiting;
