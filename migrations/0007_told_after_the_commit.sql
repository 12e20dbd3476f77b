-- Replicas are told of a change by whoever made it, once it is on record. A transaction that notifies holds, until it is committed, a lock
-- that the whole server has one of: with these triggers no two changes were ever committed at the same time.
drop trigger deployments_wake_inserted on deployments;
drop trigger deployments_wake_changed on deployments;
drop function wake_replicas();
