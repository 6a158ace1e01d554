"""What people and alert systems touch: alert intake, approvals, health, metrics, the `recoverd` command."""
