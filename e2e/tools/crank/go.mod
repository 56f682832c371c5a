module vcluster-backup/e2e/tools/crank

go 1.26.0

require github.com/crossplane/crossplane v1.16.0
