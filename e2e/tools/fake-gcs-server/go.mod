module vcluster-backup/e2e/tools/fake-gcs-server

go 1.26.0

require github.com/fsouza/fake-gcs-server v1.54.0
