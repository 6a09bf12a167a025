"""Everything that waits, reads or writes: settings, intake, agents, ledger, snapshots, HTTP, command line."""
