-- When all was last seen to be as the record says. Apart from the record: a look that shows nothing new leaves it, and its version,
-- as they are, so that nobody who holds that version has to read it again.
alter table deployments add column seen_at timestamptz;
