#!/bin/bash
# setup.sh FOLDER: all that is needed to run aarch64 onnxruntime on an x86-64 Debian 12 and to
# price its instructions: qemu-user, LLVM, an aarch64 Python with onnxruntime, our QEMU plugin.
# Needs gcc, apt-get, dpkg and python3 with pip; no root. Nothing outside FOLDER is changed: the
# packages are unpacked, not installed. About 100 MB are downloaded, 0.6 GB end up on disk.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
folder=$(realpath -m "${1:?give a folder to build in}")
mkdir -p "$folder"/{host,sysroot,packages,plugin,downloads/{host,guest,wheels},apt/{state/lists/partial,cache/archives/partial}}

unpack() { local into=$1; shift; for package in "$@"; do dpkg -x "$package" "$into"; done; }

# The emulator and llvm-mca, for this machine.
(cd "$folder/downloads/host" && apt-get download -qq qemu-user libcapstone4 liburing2 llvm-19 libllvm19)
unpack "$folder/host" "$folder"/downloads/host/*.deb

# An aarch64 C library and Python, through apt-get's ordinary sources with a state of its own.
: > "$folder/apt/status"
cat > "$folder/apt/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures {"arm64";};
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Dir::State "$folder/apt/state";
Dir::State::status "$folder/apt/status";
Dir::Cache "$folder/apt/cache";
CONF
(
    export APT_CONFIG="$folder/apt/apt.conf"
    apt-get update -qq
    cd "$folder/downloads/guest"
    apt-get download -qq libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libbz2-1.0 liblzma5 \
        libssl3 libuuid1 libcrypt1 libsqlite3-0 libreadline8 libtinfo6 libncursesw6 libdb5.3 \
        libnsl2 libtirpc3 libgomp1 libpython3.11-minimal libpython3.11-stdlib python3.11-minimal
)
unpack "$folder/sysroot" "$folder"/downloads/guest/*.deb

# What onnxruntime asks a Linux kernel about its processor: one Cortex-A57 of a Snapdragon 810.
# Without these files, which qemu-user serves in place of the host's, it crashes.
mkdir -p "$folder/sysroot/proc"
cat > "$folder/sysroot/proc/cpuinfo" <<CPU
processor	: 0
BogoMIPS	: 38.40
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x1
CPU part	: 0xd07
CPU revision	: 1

Hardware	: Qualcomm Technologies, Inc MSM8994
CPU
cpus=$folder/sysroot/sys/devices/system/cpu
mkdir -p "$cpus"/cpu0/{cpufreq,topology}
for file in possible present online kernel_max; do echo 0 > "$cpus/$file"; done
for file in core_id physical_package_id core_siblings_list cluster_cpus_list \
    thread_siblings_list package_cpus_list core_cpus_list; do
    echo 0 > "$cpus/cpu0/topology/$file"
done
echo 1958400 > "$cpus/cpu0/cpufreq/cpuinfo_max_freq"
echo 384000 > "$cpus/cpu0/cpufreq/cpuinfo_min_freq"

# onnxruntime and what it imports, as aarch64 wheels. ONNXRUNTIME pins a version: ONNXRUNTIME===1.32
python3 -m pip download -q --no-deps -d "$folder/downloads/wheels" \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux2014_aarch64 --only-binary=:all: --python-version 311 \
    "onnxruntime${ONNXRUNTIME:-}" numpy flatbuffers packaging protobuf
for wheel in "$folder"/downloads/wheels/*.whl; do
    (cd "$folder/packages" && python3 -m zipfile -e "$wheel" .)
done

gcc -O2 -Wall -Wextra -shared -fPIC -o "$folder/plugin/block_counts.so" "$here/block_counts.c"
echo "ready: $folder"
