//! A map by name whose copies share what has not changed.
//!
//! Every change of the region publishes a snapshot, and with a thousand services a deep copy a change would cost more than
//! everything else here. Copying a table is one pointer; the first write after it copies the names and the one value written.

use std::{borrow::Borrow, collections::BTreeMap, fmt, ops::Index, sync::Arc};

/// A name, shared by all copies of the table; compares as the text it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Arc<String>);

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Ordered by name.
pub struct Table<T>(Arc<BTreeMap<Key, Arc<T>>>);

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<T> Table<T> {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.get(name).map(Arc::as_ref)
    }

    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&String, &T)> + Clone {
        self.0.iter().map(|(name, value)| (name.0.as_ref(), value.as_ref()))
    }

    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &String> + Clone {
        self.iter().map(|(name, _)| name)
    }

    pub fn values(&self) -> impl DoubleEndedIterator<Item = &T> + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// Whether nothing was written to either since one was copied from the other. False may only mean that something was
    /// written back as it was.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub fn insert(&mut self, name: String, value: T) -> Option<Arc<T>> {
        Arc::make_mut(&mut self.0).insert(Key(Arc::new(name)), Arc::new(value))
    }

    pub fn remove(&mut self, name: &str) -> Option<Arc<T>> {
        if !self.contains_key(name) {
            return None;
        }
        Arc::make_mut(&mut self.0).remove(name)
    }

    pub fn retain(&mut self, keep: impl Fn(&String, &T) -> bool) {
        if !self.iter().all(|(name, value)| keep(name, value)) {
            Arc::make_mut(&mut self.0).retain(|name, value| keep(&name.0, value));
        }
    }
}

impl<T: Clone> Table<T> {
    #[must_use]
    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        if !self.contains_key(name) {
            return None;
        }
        Arc::make_mut(&mut self.0).get_mut(name).map(Arc::make_mut)
    }

    /// All of them, each unshared: dear. Look first which are to change.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        Arc::make_mut(&mut self.0).values_mut().map(Arc::make_mut)
    }
}

/// As with std's maps, for names that are known to be there.
impl<T> Index<&str> for Table<T> {
    type Output = T;

    fn index(&self, name: &str) -> &T {
        self.get(name).expect("whoever indexes by a name knows that it is there")
    }
}

impl<'a, T> IntoIterator for &'a Table<T> {
    type Item = (&'a String, &'a T);
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_does_not_see_what_is_written_later_and_shares_the_rest() {
        let mut table = Table::default();
        table.insert("a".to_owned(), 1);
        table.insert("b".to_owned(), 2);
        let copy = table.clone();
        *table.get_mut("a").unwrap() = 3;
        assert_eq!((copy.get("a"), table.get("a")), (Some(&1), Some(&3)));
        assert!(std::ptr::eq(copy.get("b").unwrap(), table.get("b").unwrap()));
    }

    #[test]
    fn what_changes_nothing_unshares_nothing() {
        let mut table = Table::default();
        table.insert("a".to_owned(), 1);
        let copy = table.clone();
        assert!(table.get_mut("none").is_none() && table.remove("none").is_none());
        table.retain(|_, _| true);
        assert!(table.same(&copy));
        table.remove("a");
        assert!(!table.same(&copy) && table.is_empty() && copy.len() == 1);
    }
}
