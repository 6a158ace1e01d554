-- What kind of table it is. Argument: its name as a regclass.
select c.oid::bigint as oid, n.nspname as schema, c.relname as name, c.relkind::text as kind, c.relpersistence::text as persistence,
       pg_catalog.row_security_active(c.oid) as secured,
       c.relkind = 'r' and exists (select from pg_catalog.pg_inherits i where i.inhparent = c.oid) as inherited,
       has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as readable,
       (select count(*) from pg_catalog.pg_partition_tree(c.oid) t where t.isleaf and c.relkind = 'p') as partitions
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.oid = pg_catalog.to_regclass(%s)
