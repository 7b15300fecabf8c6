"""From a spec to Docker resources: spec, plan and render are pure, components register what the plan says."""
