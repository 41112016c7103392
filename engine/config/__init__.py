"""A site's configuration: the models of ``config/labrelay.yaml`` and ``channels/*.yaml``; `load` reads them."""
