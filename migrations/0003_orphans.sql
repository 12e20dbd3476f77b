-- What ended deployments left in the cloud, as the sweeper sees it. A finding that is not seen any more is deleted.

-- One row: whose turn it is to sweep. `number` counts the turns, so that what an earlier one still writes comes too late.
create table sweeps (
    only_one boolean primary key default true check (only_one),
    number bigint not null default 0,
    holder text,
    -- When the next turn may be taken; while somebody sweeps, the end of his lease.
    due_at timestamptz not null default now(),
    groups_removed bigint not null default 0,
    rules_removed bigint not null default 0
);
insert into sweeps default values;

create table orphans (
    id bigint primary key generated always as identity,
    -- Where it is, as a declaration says it.
    provider jsonb not null,
    kind text not null check (kind in ('server_group', 'rule')),
    -- A group's name, a rule's reference.
    name text not null,
    -- No foreign key: an orphan may be of a deployment that is in no record.
    deployment_id uuid,
    service text,
    environment text,
    why text not null,
    -- What stands against its removal.
    kept_because text,
    first_seen timestamptz not null default now(),
    last_seen timestamptz not null default now(),
    -- Since when nothing has stood against it.
    clear_since timestamptz,
    removing_since timestamptz,
    -- The turn that saw it last.
    seen_in bigint not null,
    constraint orphans_are_seen_once unique (provider, kind, name)
);
