-- The role that mends data records, for `recoverd run fix-record`. Run it once in the database of the records, as its owner with the
-- right to create roles, or as a superuser; recoverd itself never needs one:
--
--     psql -d shop -v password="$(cat shop-data)" -f deployments/sql/data-role.sql
--     psql -d shop -c 'grant select, update on customers to recoverd_data'
--
-- It may read statistics of other sessions (who is in the way, how far standbys lag), and owns one schema, where the plans of
-- fixes are with the old and the new value of every row. Rights on tables are granted one by one, best on the columns
-- that may be mended alone: grant select on customers to recoverd_data; grant update (province) on customers to recoverd_data.
\set ON_ERROR_STOP on
begin;
create role recoverd_data login nosuperuser nocreatedb nocreaterole noreplication nobypassrls connection limit 10;
select format('alter role recoverd_data password %L', :'password') \gexec
grant pg_read_all_stats to recoverd_data;
select format('grant connect, temporary on database %I to recoverd_data', current_database()) \gexec
create schema recoverd authorization recoverd_data;
revoke all on schema recoverd from public;
comment on schema recoverd is 'plans of data fixes, with old and new values; see docs/procedures/fix-record.md of recoverd';
commit;
