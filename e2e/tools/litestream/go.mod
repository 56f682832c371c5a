module vcluster-backup/e2e/tools/litestream

go 1.26.5

require github.com/benbjohnson/litestream v0.5.18
