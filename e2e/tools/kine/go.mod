module vcluster-backup/e2e/tools/kine

go 1.26.5

require github.com/k3s-io/kine v0.17.5
