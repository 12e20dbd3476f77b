//! What people do to it.

use cutover::domain::weight::Weight;
use serde_json::Value;

use super::World;

impl World {
    /// Somebody deletes every overlay by hand.
    pub fn delete_overlays_by_hand(&mut self) {
        self.rules.clear();
    }

    /// Somebody sets the weight of a route's overlay by hand.
    pub fn weigh_by_hand(&mut self, route: &str, weight: Weight) {
        self.rules.values_mut().filter(|rule| rule.route.as_str() == route).for_each(|rule| rule.weight = weight);
    }

    /// Somebody gives every base other conditions.
    pub fn edit_bases_by_hand(&mut self, conditions: &str) {
        self.forms = self.bases.keys().map(|route| (route.clone(), Value::from(conditions))).collect();
    }

    /// Somebody puts every base back.
    pub fn put_bases_back(&mut self) {
        self.forms.clear();
    }
}
