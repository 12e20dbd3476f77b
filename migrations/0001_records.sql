-- Records of releases. What must never happen is refused here, whatever the program does: two running deployments on one
-- thing (deployment_holds), a change after the end and a rollback taken back (deployments_keep).

-- Whose the rules and groups in the cloud are: this id goes into their tags.
create table installation (
    id uuid not null default gen_random_uuid(),
    only_one boolean primary key default true check (only_one)
);
insert into installation default values;

create table tokens (
    name text primary key,
    sha256 bytea not null unique check (octet_length(sha256) = 32),
    admin boolean not null,
    created_at timestamptz not null default now()
);

create table environments (
    service text not null,
    environment text not null,
    -- The latest of environment_revisions; 0 only until the first one is stored, in the same transaction.
    revision integer not null default 0,
    next_number integer not null default 1,
    -- The group that serves between deployments.
    live jsonb,
    primary key (service, environment)
);

create table environment_revisions (
    service text not null,
    environment text not null,
    revision integer not null,
    declaration jsonb not null,
    declared_at timestamptz not null default now(),
    declared_by text not null,
    primary key (service, environment, revision),
    foreign key (service, environment) references environments
);

-- `record` is the engine's, `intent` the commands'; phase and status are read out of them and cannot say anything else.
create table deployments (
    id uuid primary key,
    service text not null,
    environment text not null,
    number integer not null,
    record jsonb not null,
    intent jsonb not null,
    -- When the load balancer had accepted what the rollback lane asked. Apart from the intent: it may come after the end.
    rollback_accepted_at timestamptz,
    phase text not null generated always as (record -> 'phase' ->> 'name') stored,
    status text not null generated always as (
        case
            when record -> 'phase' ->> 'name' in ('succeeded', 'rolled_back', 'cancelled', 'failed')
                then record -> 'phase' ->> 'name'
            when record -> 'phase' ->> 'name' in ('pending', 'provisioning', 'verifying', 'shifting', 'baking')
                and intent ->> 'paused_since' is not null
                and intent ->> 'rollback' is null
                and intent ->> 'cancel' is null
                then 'paused'
            when record -> 'phase' ->> 'name' = 'pending' then 'pending'
            else 'in_progress'
        end
    ) stored,
    version bigint not null default 1,
    lease_holder text,
    lease_until timestamptz,
    -- When to look at it next; null once it has ended.
    due_at timestamptz default now(),
    created_at timestamptz not null,
    ended_at timestamptz,
    -- When it entered `retiring`, or else ended: the next one on its routes counts from here.
    quiet_from timestamptz,
    foreign key (service, environment) references environments,
    constraint deployments_number_is_unique unique (service, environment, number),
    constraint deployments_phase_is_known check (
        phase in (
            'pending', 'provisioning', 'verifying', 'shifting', 'baking', 'committing', 'retiring', 'rolling_back',
            'succeeded', 'rolled_back', 'cancelled', 'failed'
        )
    ),
    constraint deployments_ended_is_not_due check (
        (phase in ('succeeded', 'rolled_back', 'cancelled', 'failed')) = (due_at is null)
        and (due_at is null) = (ended_at is not null)
    ),
    constraint deployments_lease_has_an_end check ((lease_holder is null) = (lease_until is null))
);
create index deployments_due on deployments (due_at) where due_at is not null;
create index deployments_leased on deployments (lease_holder, lease_until) where lease_holder is not null;
create index deployments_newest on deployments (created_at desc, id desc);

-- What a deployment holds while it runs: its environment and routes from the start, slots, groups and rule numbers from the
-- plan on. Rows stay after the end, as the history of each route.
create table deployment_holds (
    -- Checked at the end of the transaction: a new deployment takes its holds before it has a number.
    deployment_id uuid not null references deployments deferrable initially deferred,
    kind text not null check (kind in ('environment', 'route', 'slot', 'group', 'number')),
    -- A listener for numbers.
    key text not null,
    number integer not null default 0,
    active boolean not null default true,
    primary key (deployment_id, kind, key, number)
);
create unique index deployment_holds_one_running on deployment_holds (kind, key, number) where active;
create index deployment_holds_by_key on deployment_holds (kind, key);

create table events (
    id bigint primary key generated always as identity,
    deployment_id uuid not null references deployments,
    at timestamptz not null default now(),
    kind text not null,
    message text not null,
    actor text not null,
    data jsonb not null
);
create index events_by_deployment on events (deployment_id, id);

create function keep_what_is_final() returns trigger language plpgsql as $$
begin
    if old.phase in ('succeeded', 'rolled_back', 'cancelled', 'failed')
        and (new.record, new.intent, new.ended_at, new.quiet_from, new.due_at, new.lease_holder, new.version)
            is distinct from
            (old.record, old.intent, old.ended_at, old.quiet_from, old.due_at, old.lease_holder, old.version)
    then
        raise exception 'deployment % has ended as % and never changes again', old.id, old.phase
            using errcode = 'integrity_constraint_violation', constraint = 'deployments_ended_never_changes';
    end if;
    if old.intent ->> 'rollback' is not null and new.intent -> 'rollback' is distinct from old.intent -> 'rollback' then
        raise exception 'the rollback of deployment % cannot be taken back', old.id
            using errcode = 'integrity_constraint_violation', constraint = 'deployments_rollback_stays';
    end if;
    if old.rollback_accepted_at is not null and new.rollback_accepted_at is distinct from old.rollback_accepted_at then
        raise exception 'the acceptance of deployment %''s rollback is recorded already', old.id
            using errcode = 'integrity_constraint_violation', constraint = 'deployments_acceptance_stays';
    end if;
    return new;
end
$$;
create trigger deployments_keep before update on deployments for each row execute function keep_what_is_final();

create function wake_replicas() returns trigger language plpgsql as $$
begin
    perform pg_notify('cutover', new.id::text);
    return null;
end
$$;
create trigger deployments_wake_inserted after insert on deployments for each row execute function wake_replicas();
-- Not when only the time of the last look has changed: with many deployments baking that would wake every replica for nothing.
create trigger deployments_wake_changed after update on deployments for each row
    when (
        old.intent is distinct from new.intent
        or old.rollback_accepted_at is distinct from new.rollback_accepted_at
        or (old.due_at is distinct from new.due_at and new.due_at <= now())
        or old.record #- '{seen,at}' is distinct from new.record #- '{seen,at}'
    )
    execute function wake_replicas();
