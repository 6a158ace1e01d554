-- The columns of a table, with the type that a text is cast to so that its assignment still checks the length. Argument: its oid.
with recursive base(attnum, type) as (
    select attnum, atttypid from pg_catalog.pg_attribute where attrelid = %(oid)s::oid and attnum > 0 and not attisdropped
    union all
    select b.attnum, t.typbasetype from base b join pg_catalog.pg_type t on t.oid = b.type where t.typtype = 'd'
)
select a.attname as name, pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
       (select pg_catalog.format_type(b.type, -1) from base b join pg_catalog.pg_type t on t.oid = b.type
        where b.attnum = a.attnum and t.typtype <> 'd') as base,
       a.attnotnull as not_null, a.attgenerated <> '' as generated, a.attidentity <> '' as identity,
       has_column_privilege(a.attrelid, a.attnum, 'update') as writable,
       coalesce((select k.place from pg_catalog.pg_index i cross join lateral unnest(i.indkey) with ordinality k(attnum, place)
                 where i.indrelid = a.attrelid and i.indisprimary and k.attnum = a.attnum and k.place <= i.indnkeyatts), 0) as key
from pg_catalog.pg_attribute a
where a.attrelid = %(oid)s::oid and a.attnum > 0 and not a.attisdropped
order by a.attnum
