"""The same uses as people write them at first. They are here to be broken: the drills must show how."""
