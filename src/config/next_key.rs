//! The key of a session's next write, which just one write may take.

use std::sync::{Arc, Mutex, PoisonError};

/// The key of the next write of a session; empty for none.
///
/// Clones share it: a statement works on a copy of the options, and whichever write runs first takes the key from all
/// of them. [`NextKey::new`] starts anew, as SET does.
#[derive(Debug, Clone, Default)]
pub struct NextKey(Arc<Mutex<String>>);

impl NextKey {
    /// A key that nobody shares yet.
    pub fn new(key: impl Into<String>) -> Self {
        Self(Arc::new(Mutex::new(key.into())))
    }

    /// The key, which stays.
    pub fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the key for a write that begins. It comes back when the write ends without being
    /// [done](TakenKey::done): then the next try has it, too.
    pub fn take(&self) -> TakenKey {
        let key = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        TakenKey { from: self.clone(), key }
    }
}

impl PartialEq for NextKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.get() == other.get()
    }
}

impl Eq for NextKey {}

/// A key that a running write has.
#[derive(Debug)]
pub struct TakenKey {
    from: NextKey,
    key: String,
}

impl TakenKey {
    /// The key, if there was one.
    pub fn key(&self) -> Option<String> {
        (!self.key.is_empty()).then(|| self.key.clone())
    }

    /// The write has happened: its key is used up.
    pub fn done(mut self) {
        self.key.clear();
    }
}

impl Drop for TakenKey {
    fn drop(&mut self) {
        let mut key = self.from.0.lock().unwrap_or_else(PoisonError::into_inner);
        if key.is_empty() {
            *key = std::mem::take(&mut self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_write_takes_the_key_and_a_failed_one_gives_it_back() {
        let key = NextKey::new("k");
        let copy = key.clone();
        let first = copy.take();
        assert_eq!((first.key().as_deref(), key.take().key()), (Some("k"), None));
        drop(first);
        assert_eq!(key.get(), "k");
        copy.take().done();
        assert_eq!(key.get(), "");
    }

    #[test]
    fn a_key_that_was_set_meanwhile_stays() {
        let key = NextKey::new("old");
        let taken = key.take();
        *key.0.lock().unwrap() = "new".into();
        drop(taken);
        assert_eq!(key.get(), "new");
    }
}
