//! Whatever stands in the settings or the status document: it is refused, or what is understood can be written and is
//! understood as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vcluster_proto::{settings::Settings, status::Status};

fuzz_target!(|text: &str| {
    if let Ok(settings) = Settings::from_yaml(text) {
        let again = settings.to_yaml().expect("what was read can be written");
        assert_eq!(Settings::from_yaml(&again).expect("and read"), settings);
    }
    if let Ok(status) = Status::from_yaml(text) {
        let again = status.to_yaml().expect("what was read can be written");
        assert_eq!(Status::from_yaml(&again).expect("and read"), status);
    }
});
