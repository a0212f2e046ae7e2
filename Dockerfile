# The package in a workspace of a ROS 2 distribution, as docs/how-to/install.md says. Not built yet.
#   docker build -t ebm_policy_ros .
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .   # with CUDA
ARG ROS=jazzy
FROM ros:${ROS}
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN apt-get update && apt-get install -y --no-install-recommends \
      libegl1 libgl1-mesa-dri make python3-pip python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /workspace
# The distribution's NumPy comes first: pip keeps it, and OpenCV needs just that one.
COPY package.xml src/ebm_policy_ros/
RUN apt-get update && rosdep update && rosdep install -y --from-paths src --ignore-src \
    && rm -rf /var/lib/apt/lists/*
COPY requirements-robot.txt .
RUN python3 -m venv --system-site-packages .venv && touch .venv/COLCON_IGNORE \
    && .venv/bin/pip install --no-cache-dir torch --index-url ${TORCH_INDEX} \
    && .venv/bin/pip install --no-cache-dir -r requirements-robot.txt
COPY . src/ebm_policy_ros
RUN . /opt/ros/${ROS_DISTRO}/setup.sh && . .venv/bin/activate \
    && colcon build --packages-select ebm_policy_ros \
    && echo "source /workspace/.venv/bin/activate && source /workspace/install/setup.bash" >> /root/.bashrc
ENV MUJOCO_GL=egl OMP_NUM_THREADS=1
CMD ["bash"]
