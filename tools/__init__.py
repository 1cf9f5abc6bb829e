"""Scripts of the checkout: nothing here is in the package.

``bootstrap``              makes the virtual environment that ``make`` works with
``locked_requirements``    ``uv.lock`` as pip's requirements, for machines without uv
``capabilities``           what a machine can have beyond Python and git, how to look, how to get it
``docker_base``            a base image without a registry, for CI
``distributions``          what must be, and what must not be, in the sdist and the wheel
"""
