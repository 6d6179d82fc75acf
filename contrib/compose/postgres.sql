-- The tables of the bridge, beside those of Synapse.
CREATE DATABASE mimird TEMPLATE template0;
