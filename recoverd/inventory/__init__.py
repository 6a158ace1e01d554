"""The inventory: hosts in Ansible's format, and the services, sites, people, policies, fences and alerts beside it."""

from __future__ import annotations

from recoverd.inventory.alerts import AlertSource, Auth, Basic, Bearer, GrafanaHmac, Route
from recoverd.inventory.backups import (
    Backup,
    BackupSite,
    DrillRules,
    HostSite,
    RestoreCheck,
    RestoreRules,
    Retention,
    S3Site,
    WalRules,
)
from recoverd.inventory.base import FrozenMap, Mode
from recoverd.inventory.data import AuditTable, DataRule, DataRules, Takedown
from recoverd.inventory.fencing import FenceDevice
from recoverd.inventory.files import FilesBackup
from recoverd.inventory.findings import Finding, findings, secrets_of
from recoverd.inventory.hosts import Host
from recoverd.inventory.inventory import Inventory
from recoverd.inventory.isolation import Limit, Probes, Zone
from recoverd.inventory.loader import load
from recoverd.inventory.matchers import Matcher, parse_matchers
from recoverd.inventory.people import Person, Role, Site
from recoverd.inventory.pgbackrest import PgBackRest, Repository
from recoverd.inventory.policies import Approvals, Policy, SentinelPolicy, Triggers
from recoverd.inventory.postgres import Control, PatroniApi, Postgres, PostgresOverrides
from recoverd.inventory.problems import InventoryError, Problem
from recoverd.inventory.secret import SecretRef
from recoverd.inventory.selectors import Selection, select
from recoverd.inventory.services import EntryPoint, Libpq, Member, Objectives, Service, VirtualAddress

__all__ = [
    "AlertSource",
    "Approvals",
    "AuditTable",
    "Auth",
    "Backup",
    "BackupSite",
    "Basic",
    "Bearer",
    "Control",
    "DataRule",
    "DataRules",
    "DrillRules",
    "EntryPoint",
    "FenceDevice",
    "FilesBackup",
    "Finding",
    "FrozenMap",
    "GrafanaHmac",
    "Host",
    "HostSite",
    "Inventory",
    "InventoryError",
    "Libpq",
    "Limit",
    "Matcher",
    "Member",
    "Mode",
    "Objectives",
    "PatroniApi",
    "Person",
    "PgBackRest",
    "Policy",
    "Postgres",
    "PostgresOverrides",
    "Probes",
    "Problem",
    "Repository",
    "RestoreCheck",
    "RestoreRules",
    "Retention",
    "Role",
    "Route",
    "S3Site",
    "SecretRef",
    "Selection",
    "SentinelPolicy",
    "Service",
    "Site",
    "Takedown",
    "Triggers",
    "VirtualAddress",
    "WalRules",
    "Zone",
    "findings",
    "load",
    "parse_matchers",
    "secrets_of",
    "select",
]
