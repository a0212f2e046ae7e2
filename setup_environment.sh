#!/usr/bin/env bash
# Builds a virtual environment with everything the package needs. `make setup` calls it when
# something changed.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3} ros=${ROS:-jazzy} venv=${VENV:-.venv}

fail() { echo "setup: $1" >&2; exit 1; }

"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 15))' ||
  fail "$("$python" --version) found, 3.10 to 3.14 needed; choose one: make PYTHON=python3.12 setup"

if [ -n "${ROS_DISTRO:-}" ]; then
  [ "$venv" = .venv ] ||
    fail "ROS 2 ${ROS_DISTRO} is sourced, ROS=$ros is for terminals without; open such a terminal"
  # The environment sees the distribution's packages; what was compiled against its numpy and
  # OpenCV needs just those.
  echo "setup: using the sourced ROS 2 ${ROS_DISTRO}"
  options=(--system-site-packages)
  requirements=$(grep -vE '^(numpy|opencv)' requirements.txt)
else
  # rclpy and Fast DDS come as wheels.
  options=()
  requirements=$(cat requirements.txt "requirements-ros-$ros.txt")
fi

[ -x "$venv"/bin/python ] || "$python" -m venv "${options[@]}" "$venv" ||
  fail "no virtual environment; install it with: sudo apt-get install python3-venv"
"$venv"/bin/python -m pip install --quiet --upgrade pip
"$venv"/bin/python -m pip install --quiet -r <(echo "$requirements")
"$venv"/bin/python -m pip install --quiet --no-build-isolation --no-deps --editable .

# MuJoCo renders through EGL; on a machine without a GPU that is Mesa's software renderer.
opengl="libegl1 libgl1-mesa-dri"
renders() {
  MUJOCO_GL=egl "$venv"/bin/python -c 'import mujoco; mujoco.GLContext(8, 8).free()' 2>/dev/null
}
if ! renders && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq || true  # an old list may do
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $opengl >/dev/null
fi
renders || fail "no OpenGL for rendering; run: sudo apt-get install $opengl && make setup"
touch "$venv"/.ready
