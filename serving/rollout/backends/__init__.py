"""The traffic backends behind one protocol: fake, local Envoy, KServe."""
