"""The console API under `/v1/_ui`: one file per resource. Times are Unix seconds, sizes bytes."""
