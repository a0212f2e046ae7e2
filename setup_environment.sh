#!/usr/bin/env bash
# Builds .venv with everything the package needs. `make setup` calls it when something changed.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-python3}

# A virtual environment sees the packages of a sourced ROS 2; without one, rclpy and Fast DDS
# come as wheels.
if [ -n "${ROS_DISTRO:-}" ]; then
  echo "setup: using the sourced ROS 2 ${ROS_DISTRO}"
  options=(--system-site-packages)
  requirements=(-r requirements.txt)
else
  options=()
  requirements=(-r requirements.txt -r requirements-ros.txt)
fi

[ -x .venv/bin/python ] || "$python" -m venv "${options[@]}" .venv
.venv/bin/python -m pip install --quiet --upgrade pip
.venv/bin/python -m pip install --quiet "${requirements[@]}"
.venv/bin/python -m pip install --quiet --no-build-isolation --no-deps --editable .

# MuJoCo renders through EGL; on a machine without a GPU that is Mesa's software renderer.
opengl="libegl1 libgl1-mesa-dri"
if ! MUJOCO_GL=egl .venv/bin/python -c 'import mujoco; mujoco.GLContext(8, 8).free()' 2>/dev/null
then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $opengl >/dev/null
  else
    echo "setup: no OpenGL for rendering; install it with: sudo apt-get install $opengl" >&2
  fi
fi
touch .venv/.ready
