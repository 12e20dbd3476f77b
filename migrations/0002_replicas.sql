-- Who is alive: replicas divide among them what forward work may ask of the provider.
create table replicas (
    id text primary key,
    seen_at timestamptz not null
);
