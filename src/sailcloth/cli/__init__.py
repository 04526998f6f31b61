"""The command line `sailctl` (also `kubectl sail`): parse arguments, call a layer below, print. No mesh logic here."""
