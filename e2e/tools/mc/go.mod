module vcluster-backup/e2e/tools/mc

go 1.26.0

require github.com/minio/mc v0.0.0-20250313080218-cf909e1063a9
