"""Set-up of a machine: see `setup.sh`."""
