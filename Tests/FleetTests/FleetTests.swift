import Testing

/// Tests with real processes, one fleet at a time: they share the machine's cores with the fleets they start.
@Suite(.serialized, .timeLimit(.minutes(5))) struct FleetTests {}
