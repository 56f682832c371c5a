//! Compiles `run_function.proto` in pure Rust (no protoc) into two descriptor sets: `v1` as written, and `v1beta1`,
//! which Crossplane 1.14 to 1.16 and their `crossplane beta render` speak. Only for feature `grpc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=run_function.proto");
    #[cfg(feature = "grpc")]
    descriptors::write(std::path::Path::new(&std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?))?;
    Ok(())
}

#[cfg(feature = "grpc")]
mod descriptors {
    use std::{error::Error, fs, path::Path};

    use prost::Message;
    use protox::prost_reflect::prost_types::{DescriptorProto, FileDescriptorProto};

    const PROTO: &str = "run_function.proto";
    const V1: &str = "apiextensions.fn.proto.v1";
    const V1BETA1: &str = "apiextensions.fn.proto.v1beta1";

    pub(super) fn write(out: &Path) -> Result<(), Box<dyn Error>> {
        let v1 = protox::compile([PROTO], ["."])?;
        let mut v1beta1 = v1.clone();
        for file in v1beta1.file.iter_mut().filter(|file| file.package() == V1) {
            rewrite(file);
        }
        fs::write(out.join("run_function_v1.bin"), v1.encode_to_vec())?;
        fs::write(out.join("run_function_v1beta1.bin"), v1beta1.encode_to_vec())?;
        Ok(())
    }

    /// The same file in the older package. Its name changes too: reflection serves both and tells files apart by name.
    fn rewrite(file: &mut FileDescriptorProto) {
        file.name = Some(PROTO.replace(".proto", "_v1beta1.proto"));
        file.package = Some(V1BETA1.to_owned());
        file.source_code_info = None; // comments may name the package; they are not worth two versions
        file.message_type.iter_mut().for_each(rewrite_message);
        for method in file.service.iter_mut().flat_map(|service| &mut service.method) {
            rewrite_type(&mut method.input_type);
            rewrite_type(&mut method.output_type);
        }
    }

    fn rewrite_message(message: &mut DescriptorProto) {
        message.field.iter_mut().for_each(|field| rewrite_type(&mut field.type_name));
        message.nested_type.iter_mut().for_each(rewrite_message); // the entries of maps
    }

    fn rewrite_type(name: &mut Option<String>) {
        let rest = name.as_deref().and_then(|name| name.strip_prefix(&format!(".{V1}.")));
        if let Some(rest) = rest {
            *name = Some(format!(".{V1BETA1}.{rest}"));
        }
    }
}
