-- What recoverd keeps beside the data that it mends, in the schema that deployments/sql/data-role.sql makes. The plan of each
-- fix is a table of its own there, fix_…: number, key, old and new values, in the types of the table itself.
create table if not exists recoverd.fixes (
    name text primary key,
    hash text not null unique,
    manifest text not null,
    owner text not null unique,
    state text not null default 'planned' check (state in ('planned', 'applying', 'done')),
    run text,
    epoch bigint not null default 0,
    made_at timestamptz not null default clock_timestamp(),
    done_at timestamptz
);
create table if not exists recoverd.fix_batches (
    fix text not null references recoverd.fixes on delete cascade,
    hi bigint not null,
    lo bigint not null,
    applied bigint not null,
    conflicts bigint not null,
    waiting int not null,
    seconds double precision not null,
    run text not null,
    at timestamptz not null default clock_timestamp(),
    primary key (fix, hi),
    unique (fix, lo)
);
create table if not exists recoverd.fix_conflicts (
    fix text not null references recoverd.fixes on delete cascade,
    n bigint not null,
    why text not null check (why in ('gone', 'changed')),
    primary key (fix, n)
);
