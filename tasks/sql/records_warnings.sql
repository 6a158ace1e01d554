-- What else happens when columns of a table change. Arguments: its oid, the names of the columns.
with wanted as (select %(oid)s::oid as oid),
     changed as (select attnum from pg_catalog.pg_attribute a, wanted w
                 where a.attrelid = w.oid and a.attname = any(%(columns)s) and not a.attisdropped),
     parts as (select oid from wanted union select relid::oid from wanted w, pg_catalog.pg_partition_tree(w.oid))
select 'trigger' as kind, t.tgname::text as name,
       case when t.tgtype & 2 <> 0 then 'before' else 'after' end || ' update, ' || p.oid::regprocedure as detail
from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
where t.tgrelid in (select oid from parts) and t.tgparentid = 0 and not t.tgisinternal and t.tgenabled not in ('D', 'R') and t.tgtype & 16 <> 0
  and (cardinality(t.tgattr::int2[]) = 0 or exists (select from changed c where c.attnum = any(t.tgattr::int2[])))
union all
select case when r.is_instead then 'instead' else 'rule' end, r.rulename::text, 'on update'
from pg_catalog.pg_rewrite r where r.ev_class in (select oid from wanted) and r.ev_type = '2'
union all
select case when f.confupdtype in ('c', 'n', 'd') then 'cascade' else 'referenced' end, f.conname::text, 'rows of ' || f.conrelid::regclass
from pg_catalog.pg_constraint f
where f.contype = 'f' and f.confrelid in (select oid from wanted) and f.conparentid = 0
  and exists (select from changed c where c.attnum = any(f.confkey))
union all
select 'foreign key', f.conname::text, 'must be in ' || f.confrelid::regclass
from pg_catalog.pg_constraint f
where f.contype = 'f' and f.conrelid in (select oid from wanted) and exists (select from changed c where c.attnum = any(f.conkey))
union all
select 'check', f.conname::text, pg_catalog.pg_get_constraintdef(f.oid)
from pg_catalog.pg_constraint f
where f.contype = 'c' and f.conrelid in (select oid from wanted) and exists (select from changed c where c.attnum = any(f.conkey))
union all
select 'unique', i.indexrelid::regclass::text, 'values must stay unique'
from pg_catalog.pg_index i
where i.indisunique and i.indrelid in (select oid from wanted) and exists (select from changed c where c.attnum = any(i.indkey::int2[]))
union all
select 'generated', a.attname::text, 'is worked out anew'
from pg_catalog.pg_attribute a, wanted w where a.attrelid = w.oid and a.attgenerated <> '' and not a.attisdropped
union all
select 'view', v.oid::regclass::text, 'holds the old values until it is refreshed'
from pg_catalog.pg_class v where v.relkind = 'm' and v.oid in (
    select r.ev_class from pg_catalog.pg_depend d join pg_catalog.pg_rewrite r on r.oid = d.objid
    where d.classid = 'pg_catalog.pg_rewrite'::regclass and d.refobjid in (select oid from wanted))
union all
select 'publication', p.pubname::text, 'sends the change to its subscribers'
from pg_catalog.pg_publication_tables p join pg_catalog.pg_class c on c.relname = p.tablename
join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname = p.schemaname where c.oid in (select oid from wanted)
order by 1, 2
