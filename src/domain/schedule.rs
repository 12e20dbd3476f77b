//! When something is due: a cron expression in a time zone.
//!
//! By the time zones that this program was built with, not those of the machine: the same question has the same answer on every
//! replica, and none is read from a disk. A night that clocks go forward in has the run that would have fallen into the gap right
//! after it; one that they go back in has it once.

use std::time::Duration;

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};

use super::time;

/// More often than this makes no sense: what waits for one run would wait for the next.
const APART_MIN: Duration = Duration::from_secs(3600);
/// Runs that are looked at to tell how far apart they are: more than any expression of minutes and hours has in a day and a half.
const RUNS_LOOKED_AT: usize = 40;

/// A cron expression of five fields, in a time zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    cron: String,
    zone: String,
}

/// What is wrong with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Cron(String),
    Zone(String),
}

impl Schedule {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with which half.
    pub fn parse(cron: &str, zone: &str) -> Result<Self, Fault> {
        let schedule = Self { cron: cron.to_owned(), zone: zone.to_owned() };
        if schedule.zone().is_none() {
            return Err(Fault::Zone("must be a time zone of the IANA database, such as \"Europe/Berlin\"".to_owned()));
        }
        if let Err(error) = schedule.expression() {
            return Err(Fault::Cron(format!("must be a cron expression of five fields, such as \"0 3 * * MON\": {error}")));
        }
        let mut last = schedule.next_after(Timestamp::UNIX_EPOCH).ok_or_else(|| Fault::Cron("never comes".to_owned()))?;
        for _ in 0..RUNS_LOOKED_AT {
            let Some(next) = schedule.next_after(last) else { break };
            if time::between(last, next) < APART_MIN {
                return Err(Fault::Cron("comes more often than once an hour".to_owned()));
            }
            last = next;
        }
        Ok(schedule)
    }

    #[must_use]
    pub fn cron(&self) -> &str {
        &self.cron
    }

    #[must_use]
    pub fn zone_name(&self) -> &str {
        &self.zone
    }

    /// The first time after `at` that it is due; `None` when never again.
    #[must_use]
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let from = at.to_zoned(self.zone()?);
        Some(self.expression().ok()?.find_next_occurrence(&from, false).ok()?.timestamp())
    }

    fn zone(&self) -> Option<TimeZone> {
        TimeZoneDatabase::bundled().get(&self.zone).ok()
    }

    fn expression(&self) -> Result<Cron, croner::errors::CronError> {
        CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(&self.cron)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn runs(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(cron, zone).unwrap();
        let mut runs = vec![at(from)];
        while runs.len() <= count {
            runs.push(schedule.next_after(*runs.last().unwrap()).unwrap());
        }
        runs.into_iter().skip(1).map(|run| run.to_string()).collect()
    }

    #[test]
    fn it_is_meant_in_its_zone_in_winter_and_in_summer() {
        assert_eq!(
            runs("0 3 * * *", "Europe/Berlin", "2026-03-27T12:00:00Z", 3),
            ["2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]
        );
        assert_eq!(runs("0 3 * * *", "UTC", "2026-03-28T12:00:00Z", 1), ["2026-03-29T03:00:00Z"]);
        assert_eq!(runs("30 6 * * MON", "Asia/Kolkata", "2026-11-30T01:00:00Z", 1), ["2026-12-07T01:00:00Z"]);
    }

    #[test]
    fn an_hour_that_is_left_out_is_not_lost_and_one_that_comes_twice_counts_once() {
        // 2026-03-29: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00.
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            runs("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_half_that_is_wrong() {
        assert!(matches!(Schedule::parse("0 3 * * *", "Europe/Bielefeld"), Err(Fault::Zone(_))));
        for wrong in ["", "3", "0 3 * *", "0 0 3 * * *", "0 25 * * *", "soon", "0 0 30 2 *", "* * * * *", "0,30 3 * * *"] {
            assert!(matches!(Schedule::parse(wrong, "UTC"), Err(Fault::Cron(_))), "{wrong:?}");
        }
        assert!(Schedule::parse("0 * * * *", "UTC").is_ok(), "once an hour");
        assert!(Schedule::parse("0 0 29 2 *", "UTC").is_ok(), "once in four years");
    }
}
