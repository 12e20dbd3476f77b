//! Weight: green's share of traffic. Percent with one decimal outside, an integer in permille inside.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Green's share in permille, 0 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(u16);

impl Weight {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(1000);

    /// A weight from permille; `None` above 1000.
    #[must_use]
    pub fn from_permille(permille: u16) -> Option<Self> {
        (permille <= 1000).then_some(Self(permille))
    }

    /// A weight from percent: 0 to 100 with at most one decimal; `None` for anything else.
    #[must_use]
    pub fn from_percent(percent: f64) -> Option<Self> {
        let permille = percent * 10.0;
        let rounded = permille.round();
        // 12.3 is not exact in binary; a tenth of a permille is far below any second decimal a person may type.
        let exact = (permille - rounded).abs() < 1e-6;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000 was just checked")]
        (exact && (0.0..=1000.0).contains(&rounded)).then_some(Self(rounded as u16))
    }

    #[must_use]
    pub fn permille(self) -> u16 {
        self.0
    }

    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 10.0
    }

    /// The share of `servers` that this weight needs, rounded up.
    #[must_use]
    pub fn share_of(self, servers: u32) -> u32 {
        let exact = u64::from(self.0) * u64::from(servers);
        u32::try_from(exact.div_ceil(1000)).unwrap_or(servers)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(10) { write!(f, "{}%", self.0 / 10) } else { write!(f, "{}.{}%", self.0 / 10, self.0 % 10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_takes_one_decimal_and_no_more() {
        assert_eq!(Weight::from_percent(12.5), Weight::from_permille(125));
        assert_eq!(Weight::from_percent(99.9), Weight::from_permille(999));
        assert_eq!(Weight::from_percent(0.3), Weight::from_permille(3));
        for wrong in [-0.1, 100.1, 12.55, f64::NAN, f64::INFINITY] {
            assert_eq!(Weight::from_percent(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_share_is_rounded_up() {
        assert_eq!(Weight::from_permille(125).map(|w| w.share_of(8)), Some(1));
        assert_eq!(Weight::from_permille(126).map(|w| w.share_of(8)), Some(2));
        assert_eq!(Weight::NONE.share_of(8), 0);
        assert_eq!(Weight::ALL.share_of(u32::MAX), u32::MAX);
    }

    #[test]
    fn shown_as_people_write_it() {
        assert_eq!(Weight(125).to_string(), "12.5%");
        assert_eq!(Weight(50).to_string(), "5%");
    }
}
