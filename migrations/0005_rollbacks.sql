-- How long rollbacks took: the newest of them, among many releases that went well.
create index deployments_rolled_back on deployments (ended_at desc) where phase = 'rolled_back';
