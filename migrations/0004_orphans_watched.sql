-- The last look that said that nothing stands against an orphan's removal: looks far apart prove nothing of the time between, and a
-- term counts only while somebody looks. What was noted before this was kept begins a term anew.
alter table orphans add column clear_until timestamptz;
