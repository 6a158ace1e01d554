-- Loads one line of what was kept by hand: '' when it is in the table now, else why not. A fault that passes is no reason.
create function pg_temp.recoverd_load(wanted bigint) returns text language plpgsql as $recoverd$
begin
    if exists (select from {table} t join pg_temp.recoverd_paper p on {same_key} where p.line = wanted) then
        return case when exists (select from {table} t join pg_temp.recoverd_paper p on {same_all} where p.line = wanted)
            then 'there' else 'a record of that key is there with other values' end;
    end if;
    insert into {table} ({columns}) select {values} from pg_temp.recoverd_paper p where p.line = wanted;
    if not found then
        return 'a trigger or a rule dropped it';
    end if;
    return '';
exception when others then
    if sqlstate like '40%' or sqlstate = '55P03' then
        raise;
    end if;
    return sqlerrm;
end $recoverd$
