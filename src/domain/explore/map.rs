//! A map with a quick hash: in a walk, most of the time goes into asking whether a state is known.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// A quick hash for small keys: collisions only cost time, since whole states are compared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }

    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(u64::from_ne_bytes((n as i64).to_ne_bytes()));
    }
}
