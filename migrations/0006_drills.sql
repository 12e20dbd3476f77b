-- Drills of the way back: a record each with a lease of its own, and when the next one of a schedule is due.
alter table environments add column drill_due_at timestamptz;
create index environments_drill_due on environments (drill_due_at) where drill_due_at is not null;

create table drills (
    id uuid primary key,
    service text not null,
    environment text not null,
    record jsonb not null,
    routes text[] not null,
    outcome text generated always as (record ->> 'outcome') stored,
    version bigint not null default 1,
    lease_holder text,
    lease_until timestamptz,
    -- When to look at it next; null once it has ended.
    due_at timestamptz default now(),
    created_at timestamptz not null,
    ended_at timestamptz,
    foreign key (service, environment) references environments,
    constraint drills_ended_is_not_due check ((due_at is null) = (ended_at is not null)),
    constraint drills_lease_has_an_end check ((lease_holder is null) = (lease_until is null))
);
create unique index drills_one_running on drills (service, environment) where ended_at is null;
create index drills_due on drills (due_at) where due_at is not null;
create index drills_newest on drills (service, environment, id desc);
create index drills_ended on drills (ended_at desc) where ended_at is not null;
